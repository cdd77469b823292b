"""From photographs and texts to the tables that all stages share: one module per kind of data, and what
they have in common (config, boxes, photographs, rejected rows)."""
