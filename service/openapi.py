DOCUMENT: dict = {}
