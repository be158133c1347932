#!/bin/sh
# Stands in for a worker that does not know the protocol: says something on the line, then listens for ever.
printf 'HTTP/1.1 200 OK\r\n' >&0
exec cat
