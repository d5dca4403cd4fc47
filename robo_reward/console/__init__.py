"""A live session with a person: the control loop, the web page that shows it and takes commands."""
