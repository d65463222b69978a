// A rank's threads and memory beside its GPU: on a machine of several NUMA nodes, what a GPU reads
// and writes of the host's memory, and the threads that feed it, belong on the node it hangs on.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace elastron::launch {

// The numbers in a list as the kernel writes them: "0-3,8,10-11". Throws nothing: what is no number
// ends the list.
std::vector<int> parse_cpu_list(std::string_view list);

// The NUMA node of the PCI device at `address` ("0000:4d:00.0"); nothing where the kernel does not
// know, or the machine has one node only. `sysfs`: where the kernel's view of the machine lies.
std::optional<int> numa_node_of(const std::string& address, const std::string& sysfs = "/sys");

// The cores to bind to: those of the node that the process may use. None where it may use neither
// all of the node's cores, nor are at least half of those it may use of the node: then whoever
// started it chose others. Both lists ascend.
std::vector<int> cores_to_take(const std::vector<int>& of_node, const std::vector<int>& allowed);

struct NumaBinding {
  int node = -1;      // -1: not bound
  int cores = 0;      // that the process may use then
  std::string state;  // for people: "node 1 (64 cores)", "unbound: ..."; empty: nothing to say
};

// Binds all threads of this process, and those they start, to the cores of the GPU's node
// (cores_to_take), and has memory come from there if it can. It stays as it is where the node is
// not known, where there are no cores to take, and where ELASTRON_NUMA is "off".
NumaBinding bind_beside_gpu(const std::string& pci_address, const std::string& sysfs = "/sys");

// "4 ranks on node 0 (64 cores), 4 ranks on node 1 (64 cores)" of the states of all ranks; empty
// where none has something to say.
std::string describe_bindings(const std::vector<std::string>& states);

}  // namespace elastron::launch
