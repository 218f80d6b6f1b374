"""`python -m tests.fuzz --minutes 60 [TARGET ...]`: see `campaign`."""

import sys

from tests.fuzz.campaign import main

sys.exit(main())
