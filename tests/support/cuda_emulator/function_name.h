// What a function of this program is called, from its symbol table: kernels are functions that no
// other file sees.
#pragma once
#include <string>

namespace elastron::emulator {

// As it is written, without its parameters; "a kernel" where the program has no symbols.
std::string function_name(const void* function);

}  // namespace elastron::emulator
