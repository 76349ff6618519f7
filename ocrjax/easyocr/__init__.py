"""All that concerns EasyOCR: its rules, export, install, a run inside it, the doctor."""
