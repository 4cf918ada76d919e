// Offsets and bits of PCI configuration space, under the names of <linux/pci_regs.h>. Numbers only: what
// they mean to a device is decoded in config.ts and capabilities.ts.

/** Bytes of configuration space of a conventional PCI device. */
export const PCI_CFG_SPACE_SIZE = 256
/** Bytes of configuration space of a PCI Express or PCI-X 2.0 device. */
export const PCI_CFG_SPACE_EXP_SIZE = 4096
/** Bytes of the header; the first capability cannot start before it ends. */
export const PCI_STD_HEADER_SIZEOF = 0x40

export const PCI_VENDOR_ID = 0x00
export const PCI_DEVICE_ID = 0x02

export const PCI_COMMAND = 0x04
export const PCI_COMMAND_IO = 0x0001
export const PCI_COMMAND_MEMORY = 0x0002
export const PCI_COMMAND_MASTER = 0x0004
export const PCI_COMMAND_SPECIAL = 0x0008
export const PCI_COMMAND_INVALIDATE = 0x0010
export const PCI_COMMAND_VGA_PALETTE = 0x0020
export const PCI_COMMAND_PARITY = 0x0040
export const PCI_COMMAND_SERR = 0x0100
export const PCI_COMMAND_FAST_BACK = 0x0200
export const PCI_COMMAND_INTX_DISABLE = 0x0400

export const PCI_STATUS = 0x06
export const PCI_STATUS_IMM_READY = 0x0001
export const PCI_STATUS_INTERRUPT = 0x0008
export const PCI_STATUS_CAP_LIST = 0x0010
export const PCI_STATUS_66MHZ = 0x0020
export const PCI_STATUS_FAST_BACK = 0x0080
export const PCI_STATUS_PARITY = 0x0100
export const PCI_STATUS_SIG_TARGET_ABORT = 0x0800
export const PCI_STATUS_REC_TARGET_ABORT = 0x1000
export const PCI_STATUS_REC_MASTER_ABORT = 0x2000
export const PCI_STATUS_SIG_SYSTEM_ERROR = 0x4000
export const PCI_STATUS_DETECTED_PARITY = 0x8000

export const PCI_CLASS_REVISION = 0x08
export const PCI_REVISION_ID = 0x08
export const PCI_CACHE_LINE_SIZE = 0x0c
export const PCI_LATENCY_TIMER = 0x0d

export const PCI_HEADER_TYPE = 0x0e
export const PCI_HEADER_TYPE_MASK = 0x7f
export const PCI_HEADER_TYPE_NORMAL = 0
export const PCI_HEADER_TYPE_BRIDGE = 1
export const PCI_HEADER_TYPE_CARDBUS = 2
export const PCI_HEADER_TYPE_MFD = 0x80

export const PCI_BIST = 0x0f

export const PCI_BASE_ADDRESS_0 = 0x10
export const PCI_BASE_ADDRESS_SPACE_IO = 0x01
export const PCI_BASE_ADDRESS_MEM_TYPE_MASK = 0x06
export const PCI_BASE_ADDRESS_MEM_TYPE_1M = 0x02
export const PCI_BASE_ADDRESS_MEM_TYPE_64 = 0x04
export const PCI_BASE_ADDRESS_MEM_PREFETCH = 0x08

export const PCI_SUBSYSTEM_VENDOR_ID = 0x2c
export const PCI_SUBSYSTEM_ID = 0x2e
export const PCI_ROM_ADDRESS = 0x30
/** Where a PCI-to-PCI bridge keeps what {@link PCI_ROM_ADDRESS} is for a normal header. */
export const PCI_ROM_ADDRESS1 = 0x38
export const PCI_ROM_ADDRESS_ENABLE = 0x01
export const PCI_CAPABILITY_LIST = 0x34
/** Where a CardBus bridge keeps what {@link PCI_CAPABILITY_LIST} is for the other headers. */
export const PCI_CB_CAPABILITY_LIST = 0x14
export const PCI_INTERRUPT_LINE = 0x3c
export const PCI_INTERRUPT_PIN = 0x3d

export const PCI_CAP_LIST_ID = 0
export const PCI_CAP_LIST_NEXT = 1

export const PCI_CAP_ID_PM = 0x01
export const PCI_CAP_ID_MSI = 0x05
export const PCI_CAP_ID_PCIX = 0x07
export const PCI_CAP_ID_VNDR = 0x09
export const PCI_CAP_ID_SSVID = 0x0d
export const PCI_CAP_ID_EXP = 0x10
export const PCI_CAP_ID_MSIX = 0x11
export const PCI_CAP_ID_AF = 0x13

export const PCI_PM_PMC = 2
export const PCI_PM_CAP_VER_MASK = 0x0007
export const PCI_PM_CAP_D1 = 0x0200
export const PCI_PM_CAP_D2 = 0x0400
export const PCI_PM_CAP_PME_SHIFT = 11
export const PCI_PM_CTRL = 4
export const PCI_PM_CTRL_STATE_MASK = 0x0003
export const PCI_PM_CTRL_NO_SOFT_RESET = 0x0008
export const PCI_PM_CTRL_PME_ENABLE = 0x0100
export const PCI_PM_CTRL_PME_STATUS = 0x8000

export const PCI_MSI_FLAGS = 2
export const PCI_MSI_FLAGS_ENABLE = 0x0001
export const PCI_MSI_FLAGS_QMASK = 0x000e
export const PCI_MSI_FLAGS_QSIZE = 0x0070
export const PCI_MSI_FLAGS_64BIT = 0x0080
export const PCI_MSI_FLAGS_MASKBIT = 0x0100
export const PCI_MSI_ADDRESS_LO = 0x04
export const PCI_MSI_ADDRESS_HI = 0x08
export const PCI_MSI_DATA_32 = 0x08
export const PCI_MSI_MASK_32 = 0x0c
export const PCI_MSI_PENDING_32 = 0x10
export const PCI_MSI_DATA_64 = 0x0c
export const PCI_MSI_MASK_64 = 0x10
export const PCI_MSI_PENDING_64 = 0x14

export const PCI_MSIX_FLAGS = 2
export const PCI_MSIX_FLAGS_QSIZE = 0x07ff
export const PCI_MSIX_FLAGS_MASKALL = 0x4000
export const PCI_MSIX_FLAGS_ENABLE = 0x8000
export const PCI_MSIX_TABLE = 4
export const PCI_MSIX_PBA = 8
/** The BAR's number, in the low bits of the two registers above; the rest is the offset. */
export const PCI_MSIX_TABLE_BIR = 0x07
/** Bytes of one entry of the MSI-X table: address, data and vector control. */
export const PCI_MSIX_ENTRY_SIZE = 16

export const PCI_SSVID_VENDOR_ID = 4
export const PCI_SSVID_DEVICE_ID = 6

// PCI-X, of a device.
export const PCI_X_STATUS = 0x04
export const PCI_X_STATUS_266MHZ = 0x40000000
export const PCI_X_STATUS_533MHZ = 0x80000000

export const PCI_EXP_FLAGS = 0x02
export const PCI_EXP_FLAGS_VERS = 0x000f
export const PCI_EXP_FLAGS_TYPE = 0x00f0
export const PCI_EXP_FLAGS_SLOT = 0x0100
export const PCI_EXP_FLAGS_IRQ = 0x3e00
export const PCI_EXP_TYPE_RC_END = 0x9
export const PCI_EXP_TYPE_RC_EC = 0xa
export const PCI_EXP_DEVCAP = 0x04
export const PCI_EXP_DEVCAP_PAYLOAD = 0x00000007
export const PCI_EXP_DEVCAP_EXT_TAG = 0x00000020
export const PCI_EXP_DEVCAP_FLR = 0x10000000
export const PCI_EXP_DEVCTL = 0x08
export const PCI_EXP_DEVCTL_CERE = 0x0001
export const PCI_EXP_DEVCTL_NFERE = 0x0002
export const PCI_EXP_DEVCTL_FERE = 0x0004
export const PCI_EXP_DEVCTL_URRE = 0x0008
export const PCI_EXP_DEVCTL_RELAX_EN = 0x0010
export const PCI_EXP_DEVCTL_PAYLOAD = 0x00e0
export const PCI_EXP_DEVCTL_EXT_TAG = 0x0100
export const PCI_EXP_DEVCTL_NOSNOOP_EN = 0x0800
export const PCI_EXP_DEVCTL_READRQ = 0x7000
/** Resets the function; on a bridge, retries configuration accesses. */
export const PCI_EXP_DEVCTL_BCR_FLR = 0x8000
export const PCI_EXP_DEVSTA = 0x0a
export const PCI_EXP_DEVSTA_CED = 0x0001
export const PCI_EXP_DEVSTA_NFED = 0x0002
export const PCI_EXP_DEVSTA_FED = 0x0004
export const PCI_EXP_DEVSTA_URD = 0x0008
export const PCI_EXP_DEVSTA_TRPND = 0x0020
export const PCI_EXP_LNKCAP = 0x0c
export const PCI_EXP_LNKCAP_SLS = 0x0000000f
export const PCI_EXP_LNKCAP_MLW = 0x000003f0
export const PCI_EXP_LNKCTL = 0x10
export const PCI_EXP_LNKCTL_ASPMC = 0x0003
export const PCI_EXP_LNKSTA = 0x12
export const PCI_EXP_LNKSTA_CLS = 0x000f
export const PCI_EXP_LNKSTA_NLW = 0x03f0
export const PCI_EXP_LNKSTA_LT = 0x0800
export const PCI_EXP_DEVCAP2 = 0x24
export const PCI_EXP_DEVCAP2_COMP_TMOUT_DIS = 0x00000010
export const PCI_EXP_DEVCAP2_ARI = 0x00000020
export const PCI_EXP_DEVCAP2_ATOMIC_COMP32 = 0x00000080
export const PCI_EXP_DEVCAP2_ATOMIC_COMP64 = 0x00000100
export const PCI_EXP_DEVCAP2_ATOMIC_COMP128 = 0x00000200
export const PCI_EXP_DEVCTL2 = 0x28
export const PCI_EXP_DEVCTL2_ARI = 0x0020
export const PCI_EXP_DEVCTL2_ATOMIC_REQ = 0x0040

export const PCI_AF_CAP = 3
export const PCI_AF_CAP_TP = 0x01
export const PCI_AF_CAP_FLR = 0x02
export const PCI_AF_CTRL = 4
export const PCI_AF_CTRL_FLR = 0x01
export const PCI_AF_STATUS = 5
export const PCI_AF_STATUS_TP = 0x01

export const PCI_EXT_CAP_ID_ERR = 0x01
export const PCI_EXT_CAP_ID_DSN = 0x03
export const PCI_EXT_CAP_ID_VNDR = 0x0b
export const PCI_EXT_CAP_ID_ACS = 0x0d
export const PCI_EXT_CAP_ID_ARI = 0x0e
export const PCI_EXT_CAP_ID_ATS = 0x0f
export const PCI_EXT_CAP_ID_SRIOV = 0x10
export const PCI_EXT_CAP_ID_PRI = 0x13
export const PCI_EXT_CAP_ID_REBAR = 0x15
export const PCI_EXT_CAP_ID_PASID = 0x1b
export const PCI_EXT_CAP_ID_DVSEC = 0x23

export const PCI_ERR_UNCOR_STATUS = 0x04
export const PCI_ERR_UNCOR_MASK = 0x08
export const PCI_ERR_UNCOR_SEVER = 0x0c
export const PCI_ERR_COR_STATUS = 0x10
export const PCI_ERR_COR_MASK = 0x14
export const PCI_ERR_CAP = 0x18
export const PCI_ERR_CAP_FEP_MASK = 0x1f

export const PCI_DSN_LOWER = 0x04
export const PCI_DSN_UPPER = 0x08

export const PCI_VNDR_HEADER = 0x04
export const PCI_DVSEC_HEADER1 = 0x04
export const PCI_DVSEC_HEADER2 = 0x08

export const PCI_ACS_CAP = 0x04
export const PCI_ACS_CTRL = 0x06
export const PCI_ACS_SV = 0x0001
export const PCI_ACS_TB = 0x0002
export const PCI_ACS_RR = 0x0004
export const PCI_ACS_CR = 0x0008
export const PCI_ACS_UF = 0x0010
export const PCI_ACS_EC = 0x0020
export const PCI_ACS_DT = 0x0040

export const PCI_ARI_CAP = 0x04
export const PCI_ARI_CAP_MFVC = 0x0001
export const PCI_ARI_CAP_ACS = 0x0002

export const PCI_ATS_CAP = 0x04
export const PCI_ATS_CAP_QDEP_MASK = 0x1f
export const PCI_ATS_MAX_QDEP = 32
export const PCI_ATS_CAP_PAGE_ALIGNED = 0x0020
export const PCI_ATS_CTRL = 0x06
export const PCI_ATS_CTRL_ENABLE = 0x8000
export const PCI_ATS_CTRL_STU_MASK = 0x1f
export const PCI_ATS_MIN_STU = 12

export const PCI_PRI_CTRL = 0x04
export const PCI_PRI_CTRL_ENABLE = 0x0001
export const PCI_PRI_STATUS = 0x06
export const PCI_PRI_STATUS_RF = 0x0001
export const PCI_PRI_STATUS_UPRGI = 0x0002
export const PCI_PRI_STATUS_STOPPED = 0x0100
export const PCI_PRI_STATUS_PASID = 0x8000
export const PCI_PRI_MAX_REQ = 0x08
export const PCI_PRI_ALLOC_REQ = 0x0c

export const PCI_PASID_CAP = 0x04
export const PCI_PASID_CAP_EXEC = 0x0002
export const PCI_PASID_CAP_PRIV = 0x0004
export const PCI_PASID_CAP_WIDTH = 0x1f00
export const PCI_PASID_CTRL = 0x06
export const PCI_PASID_CTRL_ENABLE = 0x0001

export const PCI_SRIOV_CAP = 0x04
export const PCI_SRIOV_CAP_VFM = 0x00000001
export const PCI_SRIOV_CTRL = 0x08
export const PCI_SRIOV_CTRL_VFE = 0x0001
export const PCI_SRIOV_CTRL_MSE = 0x0008
export const PCI_SRIOV_CTRL_ARI = 0x0010
export const PCI_SRIOV_INITIAL_VF = 0x0c
export const PCI_SRIOV_TOTAL_VF = 0x0e
export const PCI_SRIOV_NUM_VF = 0x10
export const PCI_SRIOV_FUNC_LINK = 0x12
export const PCI_SRIOV_VF_OFFSET = 0x14
export const PCI_SRIOV_VF_STRIDE = 0x16
export const PCI_SRIOV_VF_DID = 0x1a
export const PCI_SRIOV_SUP_PGSIZE = 0x1c
export const PCI_SRIOV_SYS_PGSIZE = 0x20
export const PCI_SRIOV_BAR = 0x24
export const PCI_SRIOV_NUM_BARS = 6

export const PCI_REBAR_CAP = 4
export const PCI_REBAR_CTRL = 8
export const PCI_REBAR_CTRL_BAR_IDX = 0x00000007
export const PCI_REBAR_CTRL_NBAR_MASK = 0x000000e0
export const PCI_REBAR_CTRL_BAR_SIZE = 0x00003f00
