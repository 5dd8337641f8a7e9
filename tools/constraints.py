"""Print the versions of every installed package as a constraints file, without local versions, links or paths."""
import re
from importlib.metadata import distributions

OWN = {"soka", "pip", "setuptools", "wheel"}

print("# The versions that `make demo` and `make test` install, and those of the extra `eval`; the package itself asks for ranges (settings.ini).")
print("# Written by `make constraints`.")
pins = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version.split("+")[0] for d in distributions()}
for name in sorted(pins.keys() - OWN): print(f"{name}=={pins[name]}")
