"""Other people's measurements in: tables of experiments and folders of pictures become runs.

- `columns`: what a cell of a knob or of a measurement means; `table`: a whole CSV, read strictly;
- `embedded`: a folder of pictures, read from their metadata;
- `shots`: observations joined into pictures, each with one cost and the ratings of all raters;
- `ratings`: win rates from ratings; `default`: what everything is compared with;
- `keeping`: the run folder that it all becomes; `importing`: `import_table` and `import_folder`.
"""
