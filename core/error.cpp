#include "core/error.h"

namespace elastron {

Error::Error(ExitCode kind, const std::string& what, const std::string& where,
             const std::string& what_to_do)
    : std::runtime_error(what + " (" + where + "): " + what_to_do), kind_(kind) {}

void throw_logic_error(const char* file, int line, const char* expression,
                       const std::string& message) {
  throw LogicError(std::string(file) + ":" + std::to_string(line) + ": " + message + " [expected " +
                   expression + "]");
}

}  // namespace elastron
