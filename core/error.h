// Errors that a person reads. Their kind is the process exit code; only launch/ exits.
#pragma once
#include <stdexcept>
#include <string>

namespace elastron {

// Exit codes of the command-line contract.
enum class ExitCode : int {
  ok = 0,
  usage = 2,          // command line or configuration
  input = 3,          // data or model files
  checkpoint = 4,     // checkpoint unreadable or not matching
  numerical = 5,      // non-finite values that did not recover
  communication = 6,  // a collective failed, timed out, or a rank was lost
  stopped = 75,       // stopped on request, after saving
};

// Printed as one line: "error: <what> (<where>): <what to do>".
class Error : public std::runtime_error {
 public:
  Error(ExitCode kind, const std::string& what, const std::string& where,
        const std::string& what_to_do);
  // An error of another process or rank, by its line.
  Error(ExitCode kind, const std::string& line) : std::runtime_error(line), kind_(kind) {}
  ExitCode kind() const noexcept { return kind_; }

 private:
  ExitCode kind_;
};

struct UsageError : Error {
  UsageError(const std::string& what, const std::string& where, const std::string& todo)
      : Error(ExitCode::usage, what, where, todo) {}
};
struct InputError : Error {
  InputError(const std::string& what, const std::string& where, const std::string& todo)
      : Error(ExitCode::input, what, where, todo) {}
};
struct CheckpointError : Error {
  CheckpointError(const std::string& what, const std::string& where, const std::string& todo)
      : Error(ExitCode::checkpoint, what, where, todo) {}
};
struct NumericalError : Error {
  NumericalError(const std::string& what, const std::string& where, const std::string& todo)
      : Error(ExitCode::numerical, what, where, todo) {}
};
struct CommunicationError : Error {
  CommunicationError(const std::string& what, const std::string& where, const std::string& todo)
      : Error(ExitCode::communication, what, where, todo) {}
};

// A mistake in the program itself (wrong shapes handed to an op, say). Never meets user input:
// that is checked first, and reported as one of the errors above.
class LogicError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Throws LogicError with file, line and `message` unless `ok`.
#define ELASTRON_CHECK(ok, message)                                      \
  do {                                                                   \
    if (!(ok)) [[unlikely]]                                              \
      ::elastron::throw_logic_error(__FILE__, __LINE__, #ok, (message)); \
  } while (false)

[[noreturn]] void throw_logic_error(const char* file, int line, const char* expression,
                                    const std::string& message);

}  // namespace elastron
