"""Label formats: conversion, lint and repair."""
