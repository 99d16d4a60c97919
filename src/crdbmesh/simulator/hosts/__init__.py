"""SSH door: one host a machine.

server.py, connection.py, sftp.py    the door: listeners, logins, sessions
machine_os.py                        a machine's operating system, from power-on to power-off
filesystem.py, image.py            its disk, and what the Ubuntu image has on it
systemd.py, cloud_init.py          what starts things
shell_words.py, shell_parser.py, shell.py, commands/
what understands a command line
k3s.py, k3s_settings.py, k3s_cli.py  the k3s service and command
internet.py                          what can be downloaded
"""
