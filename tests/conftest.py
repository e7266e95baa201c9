"""What holds for every test, whoever runs it."""

import signal

from profiles import load_profile

load_profile()

# a shell's background job ignores these, and so would the programs that tests interrupt
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL),
                      (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
