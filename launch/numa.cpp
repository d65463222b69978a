#include "launch/numa.h"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/plural.h"

namespace elastron::launch {

namespace fs = std::filesystem;

namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int c = 0; c < CPU_SETSIZE; ++c) {
    if (CPU_ISSET(c, &set)) cores.push_back(c);
  }
  return cores;
}

// Threads that a library has started before are bound too.
bool bind_all_threads(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int c : cores) CPU_SET(c, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) return false;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/proc/self/task", none)) {
    // One that has ended meanwhile is no matter.
    static_cast<void>(
        sched_setaffinity(pid_t(std::atoi(entry.path().filename().c_str())), sizeof set, &set));
  }
  return true;
}

// Memory of threads that start from now on; a policy that somebody chose stays. Where the kernel
// refuses, memory comes from the node of the thread that touches it first, which is bound.
void prefer_memory_of(int node) {
  int policy = MPOL_DEFAULT;
  if (syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) != 0) return;
  if (policy != MPOL_DEFAULT) return;
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  std::array<unsigned long, 1024 / kBits> nodes{};
  if (size_t(node) >= 1024) return;
  nodes[size_t(node) / kBits] = 1ul << (size_t(node) % kBits);
  // The kernel takes one bit less than it is told.
  static_cast<void>(syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes.data(), 1024 + 1));
}

std::vector<int> nodes_of_machine(const std::string& sysfs) {
  return parse_cpu_list(first_line(sysfs + "/devices/system/node/online"));
}

}  // namespace

std::vector<int> parse_cpu_list(std::string_view list) {
  std::vector<int> numbers;
  const char* at = list.data();
  const char* const end = at + list.size();
  const auto number = [&](int& value) {
    const auto [behind, error] = std::from_chars(at, end, value);
    at = behind;
    return error == std::errc() && value >= 0 && value < CPU_SETSIZE;
  };
  for (int first = 0; number(first);) {
    int last = first;
    if (at != end && *at == '-') {
      ++at;
      if (!number(last)) break;
    }
    for (int i = first; i <= last; ++i) numbers.push_back(i);
    if (at == end || *at != ',') break;
    ++at;
  }
  return numbers;
}

std::optional<int> numa_node_of(const std::string& address, const std::string& sysfs) {
  if (nodes_of_machine(sysfs).size() < 2) return {};
  const auto node =
      parse_cpu_list(first_line(sysfs + "/bus/pci/devices/" + address + "/numa_node"));
  if (node.empty()) return {};  // -1, or no such file
  return node.front();
}

std::vector<int> cores_to_take(const std::vector<int>& of_node, const std::vector<int>& allowed) {
  std::vector<int> common;
  std::ranges::set_intersection(of_node, allowed, std::back_inserter(common));
  const bool whole = common.size() == of_node.size();
  const bool most = 2 * common.size() >= allowed.size();
  if (!whole && !most) common.clear();
  return common;
}

NumaBinding bind_beside_gpu(const std::string& pci_address, const std::string& sysfs) {
  NumaBinding binding;
  if (nodes_of_machine(sysfs).size() < 2) return binding;
  const char* choice = std::getenv("ELASTRON_NUMA");
  if (choice != nullptr && std::string_view(choice) == "off") {
    binding.state = "unbound: ELASTRON_NUMA is off";
    return binding;
  }
  const auto node = numa_node_of(pci_address, sysfs);
  if (!node) {
    binding.state = "unbound: the kernel does not say on which node the GPU is";
    return binding;
  }
  const auto of_node = parse_cpu_list(
      first_line(fmt::format("{}/devices/system/node/node{}/cpulist", sysfs, *node)));
  const auto allowed = allowed_cores();
  const auto cores = cores_to_take(of_node, allowed);
  if (cores.empty()) {
    binding.state = fmt::format("unbound: most of the {} it was given are not of the GPU's node {}",
                                plural(int64_t(allowed.size()), "core"), *node);
    return binding;
  }
  if (!bind_all_threads(cores)) {
    binding.state = "unbound: the kernel does not let threads be bound";
    return binding;
  }
  prefer_memory_of(*node);
  binding.node = *node;
  binding.cores = int(cores.size());
  binding.state = fmt::format("node {} ({})", *node, plural(binding.cores, "core"));
  return binding;
}

std::string describe_bindings(const std::vector<std::string>& states) {
  std::map<std::string, int64_t> ranks;
  for (const std::string& s : states) ++ranks[s];
  std::string text;
  for (const auto& [state, count] : ranks) {
    if (state.empty()) continue;
    const char* on = state.starts_with("node ") ? " on " : " ";
    text += (text.empty() ? "" : ", ") + plural(count, "rank") + on + state;
  }
  return text;
}

}  // namespace elastron::launch
