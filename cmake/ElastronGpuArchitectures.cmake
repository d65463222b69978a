# Which code this machine's GPUs want. The kernels for Hopper exist in code for 9.0a only, so that
# CMake's own `native`, which says 90 there, would leave them out.

# elastron_architecture_of(out 9.0): the CMAKE_CUDA_ARCHITECTURES entry for a compute capability, or
# nothing where it is none that the program runs on (8.0 is the least).
function(elastron_architecture_of out capability)
  set(${out} "" PARENT_SCOPE)
  if(NOT capability MATCHES "^([0-9]+)\\.([0-9])$")
    return()
  endif()
  set(number ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
  if(number EQUAL 90)
    set(${out} 90a-real PARENT_SCOPE)
  elseif(number GREATER_EQUAL 80)
    set(${out} ${number}-real PARENT_SCOPE)
  endif()
endfunction()

# elastron_gpu_capabilities(out nvcc): "8.0;9.0", one for each GPU of this machine, as the driver's
# tool says, or else the query that nvcc itself uses, which stands beside it.
function(elastron_gpu_capabilities out nvcc)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE text RESULT_VARIABLE failed ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" found "${text}")
  if(failed OR NOT found)
    set(found "")
    get_filename_component(folder "${nvcc}" DIRECTORY)
    execute_process(COMMAND ${folder}/__nvcc_device_query
      OUTPUT_VARIABLE text RESULT_VARIABLE failed ERROR_QUIET)
    if(NOT failed)
      string(REGEX MATCHALL "[0-9]+" numbers "${text}")
      foreach(number IN LISTS numbers)
        string(REGEX REPLACE "([0-9])$" ".\\1" capability ${number})
        list(APPEND found ${capability})
      endforeach()
    endif()
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

# elastron_gpu_architectures(out nvcc): those of all GPUs here, each once; 90a-real where there are
# none.
function(elastron_gpu_architectures out nvcc)
  elastron_gpu_capabilities(capabilities "${nvcc}")
  set(list "")
  foreach(capability IN LISTS capabilities)
    elastron_architecture_of(architecture ${capability})
    if(architecture)
      list(APPEND list ${architecture})
    else()
      message(STATUS "a GPU of compute capability ${capability} is passed over: 8.0 is the least")
    endif()
  endforeach()
  list(REMOVE_DUPLICATES list)
  if(NOT list)
    set(list 90a-real)
  endif()
  set(${out} "${list}" PARENT_SCOPE)
endfunction()
