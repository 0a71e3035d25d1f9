"""What data sets come as beside folders: tables of labels, files of class names, archives."""
