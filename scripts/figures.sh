#!/usr/bin/env bash
# Draws the figures of pages that this program wrote (table.html, report.html, consolidation.html, …) as SVG, with Node.
#
#   scripts/figures.sh PAGE [--out FOLDER] [FIGURE …]
#
#   FIGURE     a figure's name, which is that of its file: accuracy, phi-learned (default: all of the page)
#   --out      where to write FIGURE.svg (default: beside the page)
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
require_arguments "$@"
command -v npm >/dev/null || fail "Node with npm is needed, and there is no 'npm' on the PATH"

# The versions that pages are drawn with in a browser.
assets=$root/src/EmtTorch.Reports/Assets modules=$root/obj/figures
if ! cmp -s "$assets/package-lock.json" "$modules/package-lock.json" || [ ! -d "$modules/node_modules/vega-lite" ]; then
  mkdir -p "$modules"
  cp "$assets/package.json" "$assets/package-lock.json" "$modules"
  (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
fi
# Node looks for packages beside the script.
cp "$root/scripts/figures.mjs" "$modules"
node "$modules/figures.mjs" "$@"
