"""Pages and pictures: the report of a run, filters, previews of augmentation."""
