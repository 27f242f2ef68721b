"""What each rule that podvitals comes with has to say, from raw signal to message, written down apart from the rules."""

from tests.detect.catalogue import nvidia, others

ROWS = (
    *nvidia.XIDS,
    *nvidia.REPEATED,
    *nvidia.NVIDIA,
    *others.AMD_AND_INTEL,
    *others.PCIE,
    *others.NET_AND_RDMA,
    *others.DISKS,
    *others.OTHERS,
)
