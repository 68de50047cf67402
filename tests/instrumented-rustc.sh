#!/bin/sh
# As RUSTC_WORKSPACE_WRAPPER: counts what is executed of the workspace's own crates, and leaves
# their dependencies alone, so that those need not be built again.
exec "$@" -C instrument-coverage
