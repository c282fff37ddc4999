"""A trained network as a service over HTTP, with a page to try it on."""
