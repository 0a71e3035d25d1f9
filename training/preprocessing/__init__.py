"""How somebody's network wants its images, and what its answers are."""
