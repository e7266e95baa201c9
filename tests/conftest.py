"""What holds for every test: none has to be quick, for machines are busy (speed is measured by `make bench`)."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
