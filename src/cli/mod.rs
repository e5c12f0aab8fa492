//! The command line: words become requests, results become tables, errors become one line and an exit status.
