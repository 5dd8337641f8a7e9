"Package metadata, read from settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here/"settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

def requirements(key):
    return cfg[key].strip().splitlines()

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    keywords=cfg["keywords"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: English",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {v}" for v in cfg["pythons"].split()),
    ],
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    package_data={cfg["lib_name"]: ["py.typed", "base/*", "evals/*"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=requirements("requirements"),
    extras_require={"eval": requirements("eval_requirements"), "smollm2": requirements("smollm2_requirements"), "dev": requirements("dev_requirements")},
    entry_points={
        "console_scripts": ["soka=soka.cli:main"],
        "nbdev": ["soka=soka._modidx:d"],
    },
    zip_safe=False,
)
