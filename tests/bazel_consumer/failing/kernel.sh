#!/bin/sh
set -eu
uname -r
