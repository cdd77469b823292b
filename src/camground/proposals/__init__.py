"""Stage `proposals`: class-agnostic candidate boxes of every image, best first."""
