"""From folders of images to a published bundle. `python -m training --help` is the way in."""
