"""The families of devices: each finds devices of one kind and says what their hardware says, as signals. What that means is the rules'.

Rules kept here:
* A file, call or line that could not be read is an Unread signal with its reason, never a sign of a broken device.
* What a device has not got (its file does not exist, its driver does not support the call) is no signal at all.
* Every path read is cited with the kernel document that promises it. Nothing is read without a bound.
* Devices are named by what stays the same over reboots (PCI address, serial, WWN), never by the order in which they were found.
"""
