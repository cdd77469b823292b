"""Losses: contrastive matching, distillation of the CAM, reconstruction, attention mining."""
