"""Loaded by the web UIs at each start and each Reload UI; the plug-in itself is in `ui/hosts`."""

import sys
from importlib import import_module, util
from pathlib import Path

for name, folder in (("l4f_plugin", "l4f_plugin"), ("l4f_ui", "ui")):  # no name of ours stays on sys.path
    if name not in sys.modules:
        place = Path(__file__).resolve().parent.parent / folder
        spec = util.spec_from_file_location(name, place / "__init__.py", submodule_search_locations=[str(place)])
        sys.modules[name] = util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
CutOut = import_module("l4f_ui.hosts").register()  # found by the web UI in this module: the operation in Extras
