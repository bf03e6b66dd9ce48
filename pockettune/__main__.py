"""``python -m pockettune``: the person's command without the console script."""

import sys

from pockettune.cli import main

sys.exit(main())
