// What KVM keeps of a vCPU and of dirty memory, where a processor runs the guest: the tests of test/kvm, some of which a host without
// hardware virtualization has to skip.
import '../kvm/memory-extras.test.js'
import '../kvm/state.test.js'
