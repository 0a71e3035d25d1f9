"""From folders to decoded images: index, cache, duplicates, split, audit."""
