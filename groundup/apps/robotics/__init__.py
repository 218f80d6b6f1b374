"""Robots: their interface, guard and episodes."""

from groundup.core.tables import APPLICATIONS, Application

APPLICATIONS.add("robotics", Application())
