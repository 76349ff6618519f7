"""ocrjax: what the detector and the recogniser share; `ocrjax.app` is the command on top."""
