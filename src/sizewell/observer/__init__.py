"""What machines say of themselves: probes of the hardware this process stands on."""
