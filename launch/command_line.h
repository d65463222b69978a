// Options of the subcommands: as much of CLI11 as they use, under the same names. CLI11 itself,
// which is long to compile, is included by command_line.cpp and main.cpp only.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "launch/command_text.h"

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace elastron::launch::cli {

// A condition on a value.
class Check {
 public:
  explicit Check(std::shared_ptr<const CLI::Validator> validator);
  const CLI::Validator& validator() const { return *validator_; }

 private:
  std::shared_ptr<const CLI::Validator> validator_;
};

Check Range(int low, int high);
Check Range(int64_t low, int64_t high);
Check Range(double low, double high);
Check IsMember(const std::vector<std::string>& words);
extern const Check PositiveNumber, NonNegativeNumber, ExistingDirectory;

// To be thrown by an App's callback: the command line is wrong, though each option is right.
struct ValidationError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option* required();
  Option* check(const Check& check);
  Option* needs(const Option* other);
  Option* excludes(const Option* other);
  Option* excludes(const std::string& name);
  Option* allow_extra_args(bool value);
  Option* capture_default_str();

 private:
  CLI::Option* option_;
};

// The program's arguments, or a subcommand's.
class App {
 public:
  explicit App(CLI::App* app);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Apps and options live as long as this does.
  App* add_subcommand(const std::string& name, const std::string& doc);
  // T: bool, int, int64_t, uint64_t, double, std::string, std::optional<uint64_t>, and vectors of
  // int64_t and std::string. Another type wants a line at the end of command_line.cpp.
  template <class T>
  Option* add_option(const std::string& name, T& value, const std::string& doc);
  // T: int64_t, std::string.
  template <class T>
  Option* add_option_function(const std::string& name, const std::function<void(const T&)>& take,
                              const std::string& doc);
  Option* add_flag(const std::string& name, bool& value, const std::string& doc);
  // Runs when this is what was asked for, and all its arguments are read.
  void callback(std::function<void()> run);
  // Everything that was added so far, below the program itself.
  CommandText describe_program() const;

 private:
  Option* keep(CLI::Option* option);

  CLI::App* app_;
  std::vector<std::unique_ptr<App>> subcommands_;
  std::vector<std::unique_ptr<Option>> options_;
};

}  // namespace elastron::launch::cli
