"""Features of photographs and texts: the backbone, the language encoder and the cache of what they give."""
