"""Image-text matching and the Grad-CAM of its score."""
