"""EasyOCR: its rules, export and installation of networks, a check inside it, the doctor."""
