"""The record of a run: typed events, one JSON object a line, in a file that is only appended to."""
