"""`python -m deepgaze_jax`: the command line."""

import sys

from deepgaze_jax.cli import main

sys.exit(main())
