#include "tests/support/cuda_emulator/function_name.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <vector>

namespace elastron::emulator {

namespace {

template <class T>
std::vector<T> read_array(std::ifstream& file, uint64_t offset, uint64_t bytes) {
  std::vector<T> values(bytes / sizeof(T));
  file.seekg(std::streamoff(offset));
  file.read(reinterpret_cast<char*>(values.data()), std::streamsize(bytes));
  return values;
}

// The symbol that begins at `address` of the file, as it is mangled.
std::string symbol_at(const char* path, uint64_t address) {
  std::ifstream file(path, std::ios::binary);
  Elf64_Ehdr header{};
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  if (!file) return {};
  const auto sections =
      read_array<Elf64_Shdr>(file, header.e_shoff, uint64_t(header.e_shnum) * sizeof(Elf64_Shdr));
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    const Elf64_Shdr& names = sections[section.sh_link];
    const auto text = read_array<char>(file, names.sh_offset, names.sh_size);
    for (const auto& symbol : read_array<Elf64_Sym>(file, section.sh_offset, section.sh_size)) {
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value == address) {
        return text.data() + symbol.st_name;
      }
    }
  }
  return {};
}

}  // namespace

std::string function_name(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0) return "a kernel";
  const uint64_t address = uint64_t(function) - uint64_t(info.dli_fbase);
  const std::string mangled = symbol_at(info.dli_fname, address);
  if (mangled.empty()) return "a kernel";
  int status = 0;
  char* text = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  // void elastron::ops::cuda::(anonymous namespace)::add_kernel<float>(float const*, ...)
  const std::string hidden = "(anonymous namespace)::";
  for (size_t at; (at = name.find(hidden)) != std::string::npos;) name.erase(at, hidden.size());
  name.resize(std::min(name.find('('), name.size()));
  const size_t before = name.find_last_of(": ", name.find('<'));
  return before == std::string::npos ? name : name.substr(before + 1);
}

}  // namespace elastron::emulator
