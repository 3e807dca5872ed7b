"""One function a knob; the file's name says what part of a pipeline its knobs are about."""
