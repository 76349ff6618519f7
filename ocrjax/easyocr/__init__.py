"""EasyOCR support: export and installation of networks, checks in a real EasyOCR, the doctor."""
