"""What all tests of the programs share; see programs.py for running them.

SPDX-License-Identifier: GPL-2.0-or-later
"""
import signal

import pytest

import programs

# A shell without job control starts what runs in the background with this signal ignored, and programs inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Leave out what the sanitizers do not bear, where BUILD_DIR was built with them."""
    if not any(item.get_closest_marker('plain_build') for item in items):
        return
    if programs.build_option('b_sanitize') == 'none':
        return
    for item in items:
        if item.get_closest_marker('plain_build'):
            item.add_marker(pytest.mark.skip(reason='needs a build without sanitizers'))
