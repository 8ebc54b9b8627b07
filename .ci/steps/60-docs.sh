# The documentation as a site; a link or an anchor that leads nowhere fails.
make site
