#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <optional>
#include <utility>

namespace elastron::launch::cli {

namespace {

template <class V>
Check check_of(V validator) {
  return Check(std::make_shared<const CLI::Validator>(std::move(validator)));
}

}  // namespace

Check::Check(std::shared_ptr<const CLI::Validator> validator) : validator_(std::move(validator)) {}

Check Range(int low, int high) { return check_of(CLI::Range(low, high)); }
Check Range(int64_t low, int64_t high) { return check_of(CLI::Range(low, high)); }
Check Range(double low, double high) { return check_of(CLI::Range(low, high)); }
Check IsMember(const std::vector<std::string>& words) { return check_of(CLI::IsMember(words)); }
const Check PositiveNumber = check_of(CLI::PositiveNumber);
const Check NonNegativeNumber = check_of(CLI::NonNegativeNumber);
const Check ExistingDirectory = check_of(CLI::ExistingDirectory);

Option* Option::required() {
  option_->required();
  return this;
}
Option* Option::check(const Check& check) {
  option_->check(check.validator());
  return this;
}
Option* Option::needs(const Option* other) {
  option_->needs(other->option_);
  return this;
}
Option* Option::excludes(const Option* other) {
  option_->excludes(other->option_);
  return this;
}
Option* Option::excludes(const std::string& name) {
  option_->excludes(name);
  return this;
}
Option* Option::allow_extra_args(bool value) {
  option_->allow_extra_args(value);
  return this;
}
Option* Option::capture_default_str() {
  option_->capture_default_str();
  return this;
}

App::App(CLI::App* app) : app_(app) {}
App::~App() = default;

App* App::add_subcommand(const std::string& name, const std::string& doc) {
  subcommands_.push_back(std::make_unique<App>(app_->add_subcommand(name, doc)));
  return subcommands_.back().get();
}

template <class T>
Option* App::add_option(const std::string& name, T& value, const std::string& doc) {
  return keep(app_->add_option(name, value, doc));
}

template <class T>
Option* App::add_option_function(const std::string& name, const std::function<void(const T&)>& take,
                                 const std::string& doc) {
  return keep(app_->add_option_function<T>(name, take, doc));
}

Option* App::add_flag(const std::string& name, bool& value, const std::string& doc) {
  return keep(app_->add_flag(name, value, doc));
}

void App::callback(std::function<void()> run) {
  app_->callback([run = std::move(run)] {
    try {
      run();
    } catch (const ValidationError& error) {
      throw CLI::ValidationError(error.what());
    }
  });
}

Option* App::keep(CLI::Option* option) {
  options_.push_back(std::make_unique<Option>(option));
  return options_.back().get();
}

using Name = const std::string&;
template Option* App::add_option(Name, bool&, Name);
template Option* App::add_option(Name, int&, Name);
template Option* App::add_option(Name, int64_t&, Name);
template Option* App::add_option(Name, uint64_t&, Name);
template Option* App::add_option(Name, double&, Name);
template Option* App::add_option(Name, std::string&, Name);
template Option* App::add_option(Name, std::optional<uint64_t>&, Name);
template Option* App::add_option(Name, std::vector<int64_t>&, Name);
template Option* App::add_option(Name, std::vector<std::string>&, Name);
template Option* App::add_option_function<int64_t>(Name, const std::function<void(const int64_t&)>&,
                                                   Name);
template Option* App::add_option_function<std::string>(
    Name, const std::function<void(const std::string&)>&, Name);

}  // namespace elastron::launch::cli
