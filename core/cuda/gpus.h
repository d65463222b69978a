// The GPUs that this process sees, by the names that other processes know them by.
#pragma once
#include <string>

namespace elastron::cuda {

// Of GPU `ordinal`. Its own name, the same on every machine: 32 hexadecimal digits.
std::string gpu_uuid(int ordinal);
// Its place on the PCI bus, as Linux names it: "0000:4d:00.0"; empty where the driver does not say.
std::string gpu_pci_address(int ordinal);

}  // namespace elastron::cuda
