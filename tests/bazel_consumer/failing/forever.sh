#!/bin/sh
set -eu
echo it lasts
while :; do sleep 1; done
